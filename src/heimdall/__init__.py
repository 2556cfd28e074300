"""Heimdall: from IQ recordings of a WebSDR network to a versioned transmitter localizer."""
