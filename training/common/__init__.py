"""What every network's training needs: a resumable trainer, shards of data, export."""
