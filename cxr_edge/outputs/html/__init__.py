"""Results as people read them: a page for the browser.

``page`` writes the HTML report of a run; ``image`` renders one image of it, which the demo shows too; ``picture`` is
what a run keeps of an image until its report is written.
"""
