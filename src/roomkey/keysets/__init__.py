"""Where keys come from: files today."""
