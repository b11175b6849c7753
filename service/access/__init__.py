"""Who may use which address: keys, tokens, rates and quotas."""
