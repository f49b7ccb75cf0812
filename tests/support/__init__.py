"""What tests share: servers to run against, people to act, and how to wait."""
