"""The REST API: thin routes over a `Desk`, pure views, and one table of errors."""
