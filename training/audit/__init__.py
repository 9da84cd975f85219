"""Label audit: likely errors and broken guideline rules, a page to decide on, and decisions that training applies."""
