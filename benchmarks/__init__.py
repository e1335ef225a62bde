"""The benchmark of depthattn: ``python benchmarks/run.py`` measures, ``python benchmarks/report.py`` renders."""
