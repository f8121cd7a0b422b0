"""The mark of generated media, in the metadata that each format has for it: made by a model, and by which program.

The source type is IPTC's, as C2PA and platforms read it: https://cv.iptc.org/newscodes/digitalsourcetype/. The mark
is the same for all media, so that the same media still give the same bytes.
"""

from __future__ import annotations

from typing import Final

SOURCE_TYPE: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
TOOL: Final = "AnyGPT"
COMMENT: Final = f"Made by a model, with {TOOL}. Digital source type: {SOURCE_TYPE}"
"""For formats that have a comment and no XMP."""
XMP_KEY: Final = "XML:com.adobe.xmp"
"""The text chunk of a PNG that holds XMP."""
XMP: Final = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
    ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    f' xmp:CreatorTool="{TOOL}" Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"/>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
