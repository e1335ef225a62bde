"""Every kind of file that the library and its scripts read."""

from __future__ import annotations

from tests.files import data_files, network_files, script_files

KINDS = (*data_files.KINDS, *network_files.KINDS, *script_files.KINDS)
