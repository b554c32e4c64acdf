"""How far tracks are from people whom calibrated cameras and labels know: ``make accuracy``."""
