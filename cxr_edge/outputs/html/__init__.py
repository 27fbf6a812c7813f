"""Results as HTML, for a browser.

``page`` writes the HTML report of a run; ``image`` renders one image of it, also for the demo; ``picture`` holds what a
run keeps of an image until its report is written.
"""
