"""What one value of an ablation's axis gains over another, seed by seed."""
