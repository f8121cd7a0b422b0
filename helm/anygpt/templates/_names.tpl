{{- /* The name of a stage's objects: image_decoder becomes RELEASE-image-decoder. Call with (list $ "image_decoder"). */ -}}
{{- define "anygpt.name" -}}
{{- $root := index . 0 -}}
{{- printf "%s-%s" $root.Release.Name (index . 1 | replace "_" "-") | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "anygpt.selector" -}}
app.kubernetes.io/name: anygpt
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 | replace "_" "-" }}
{{- end -}}

{{- define "anygpt.labels" -}}
{{- $root := index . 0 -}}
{{ include "anygpt.selector" . }}
app.kubernetes.io/version: {{ $root.Values.image.tag | default $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end -}}

{{- define "anygpt.image" -}}
{{- $root := index . 0 -}}
{{- with $root.Values.image -}}
{{- printf "%s/%s:%s" .repository (index $ 1) (.tag | default $root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- /* Variables of every container: where the backends are, and what the values say for all and for this stage (templates allowed). */ -}}
{{- define "anygpt.env" -}}
{{- $root := index . 0 -}}
{{- $all := dict "ANYGPT_BUS" $root.Values.bus "ANYGPT_STORE" $root.Values.store "ANYGPT_MEMORY" $root.Values.memory "ANYGPT_INSECURE" (ternary "true" "" $root.Values.insecure) "ANYGPT_SECRETS" "/run/secrets/anygpt" -}}
{{- if $root.Values.secrets }}{{ $_ := set $all "ANYGPT_ACCESS__KEYS_FILE" "/run/secrets/anygpt/keys.json" }}{{ end -}}
{{- if $root.Values.tls }}{{ $_ := set $all "ANYGPT_TLS__CERT_FILE" "/run/secrets/anygpt/tls.crt" }}{{ $_ := set $all "ANYGPT_TLS__KEY_FILE" "/run/secrets/anygpt/tls.key" }}{{ end -}}
{{- range $name, $value := mergeOverwrite $all (deepCopy $root.Values.env) (deepCopy (index . 1)) }}
{{- if $value }}
- name: {{ $name }}
  value: {{ tpl $value $root | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "anygpt.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "anygpt.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- /* The files of /run/secrets/anygpt: a service's own secrets, and the certificate. Call with (list $ "image_decoder"). */ -}}
{{- define "anygpt.files" -}}
{{- $root := index . 0 -}}
- name: secrets
  projected:
    sources: [{{ with $root.Values.secrets }}{secret: {name: {{ printf "%s-%s" . (index $ 1 | replace "_" "-") }}}}, {{ end }}{{ with $root.Values.tls }}{secret: {name: {{ . }}}}{{ end }}]
{{- end -}}
