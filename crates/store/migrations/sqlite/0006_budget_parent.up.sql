-- The budgets below one, for what proves that its reservations are theirs.
CREATE INDEX budgets_parent ON budgets (parent_id) WHERE parent_id IS NOT NULL;
