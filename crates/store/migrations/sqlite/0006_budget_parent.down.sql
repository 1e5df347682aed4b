DROP INDEX budgets_parent;
