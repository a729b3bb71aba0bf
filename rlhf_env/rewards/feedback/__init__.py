"""Human feedback: records, and the files that hold them."""
