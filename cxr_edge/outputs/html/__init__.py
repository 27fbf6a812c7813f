"""Results as people read them: a table for spreadsheets, and a page for the browser.

``page`` writes the HTML report of a run; ``film`` renders one film of it, which the demo shows too; ``picture`` is what
a run keeps of a film until its report is written.
"""
