"""The pure part of risk: words, checks of what comes in, and the judgement itself."""
