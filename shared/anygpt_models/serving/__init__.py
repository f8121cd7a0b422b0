"""What every encoder and every decoder service has in common; a service adds its modality and its models."""

from __future__ import annotations
