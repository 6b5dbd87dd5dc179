"""What only makes a backbone faster: taken away, results change by rounding at most."""
