"""What a policy may not say."""


class QosError(ValueError):
    """A policy that cannot be carried out: names the policy and class, and says what to do."""
