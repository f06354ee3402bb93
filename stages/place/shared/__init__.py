"""What several place backends share."""
