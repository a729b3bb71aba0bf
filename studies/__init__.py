"""What experiments share: grids, execution, statistics, results and reports."""
