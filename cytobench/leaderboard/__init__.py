"""From stored results to tables people read: one row a backbone, one column a task under a probe."""
