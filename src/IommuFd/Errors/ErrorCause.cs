namespace IommuFd;

/// <summary>One row of <see cref="ErrorCauses"/>.</summary>
/// <param name="Cause">The meaning.</param>
/// <param name="Explanation">The meaning as a sentence without its full stop.</param>
/// <param name="Remedy">What to do, as a sentence; may be empty.</param>
internal sealed record ErrorCause(FailureCause Cause, string Explanation, string Remedy);
