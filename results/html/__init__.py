"""`report.html`: its data, its page, its plots."""
