"""What several complete backends share."""
