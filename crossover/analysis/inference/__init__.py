"""Statistics on seed pairs: windows and their tests, the crossing's place, bands, power, and the word they lead to."""
