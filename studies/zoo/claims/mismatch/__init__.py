"""Claims about samplers that are not the policy that learns."""
