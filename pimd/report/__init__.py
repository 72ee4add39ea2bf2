"""`pimd report`: a run in one HTML file, which needs no network and no other file.

    beginning.py     from when on everything is averaged
    thermodynamics.py, conserved.py, uncertainty.py, structure.py, budget.py, setting.py
                     one section each, from the record, members.h5 and summary.json
    columns.py       what i-PI's properties are called and shown in
    earlier.py       results that other commands left in RUN/analysis
    frames.py, molecules.py, chemiscope_data.py, viewer.py
                     frames for chemiscope, and chemiscope itself
    section.py, page.py, page.css, viewer.js    sections -> HTML
    report.py        all of it
"""

from pimd.report.report import Report, report_run

__all__ = ["Report", "report_run"]
