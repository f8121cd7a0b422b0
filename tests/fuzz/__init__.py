"""Inputs that nobody meant, against every place that reads what comes from outside."""

from __future__ import annotations
