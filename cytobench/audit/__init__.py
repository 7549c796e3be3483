"""Looking through a task's pictures for what spoils a score: copies, contradictions, outliers."""
