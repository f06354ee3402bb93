"""What several segment backends share: instances, remembered photos, how SAM is asked."""
