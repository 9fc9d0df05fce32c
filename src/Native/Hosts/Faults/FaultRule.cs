namespace IommuFd.Native;

/// <summary>Which call fails with what.</summary>
/// <param name="Errno">The positive error number it fails with.</param>
/// <param name="Call">The kind of call, or null for any.</param>
/// <param name="Request">For an ioctl: the request number, or null for any.</param>
/// <param name="Nth">The how-manieth matching call fails, from 1.</param>
/// <param name="AndAfter">True: all calls after it fail too.</param>
public sealed record FaultRule(int Errno, SystemCall? Call = null, uint? Request = null, int Nth = 1, bool AndAfter = false);
