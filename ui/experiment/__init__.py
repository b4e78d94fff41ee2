"""The Experiment page: the subject, the recipe under edit, a sweep, sharing."""
