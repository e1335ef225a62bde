"""The five operations and what they share. Private: import from :mod:`depthattn.functional`."""
