"""Sound before any network sees it: PCM formats, streaming resampler, time line by stamps, files (numpy, soxr, soundfile)."""
