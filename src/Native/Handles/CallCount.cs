using System.Runtime.CompilerServices;

namespace IommuFd.Native;

/// <summary>
/// Counts the calls that are under way on something that may be closed meanwhile. The count is kept in parts, one for each processor, so that
/// threads that call at the same time do not write to the same line of the processors' caches (as struct percpu_ref of Linux).
/// </summary>
/// <remarks>
/// Entering and leaving are full barriers. Whoever closes first says so, in memory of its own, and then looks at <see cref="IsZero"/>. Whoever
/// enters looks whether it was said after it has entered, and leaves again. Whoever leaves and sees that it was said looks at
/// <see cref="IsZero"/>. So one of them sees the end of the last call. Allocates nothing after its construction.
/// </remarks>
internal sealed class CallCount
{
    private const int Parts = 8;

    // In ints: a line, and the neighbour that is fetched with it.
    private const int Apart = 128 / sizeof(int);

    // The first part and the last one are left out: they are the distance to other objects.
    private readonly int[] _counts = new int[(Parts + 2) * Apart];

    /// <summary>
    /// True when no call is under way. One that enters only to see that it is too late may make it false; it looks here again when it leaves.
    /// </summary>
    public bool IsZero
    {
        get
        {
            for (int part = 1; part <= Parts; part++)
            {
                if (Volatile.Read(ref _counts[part * Apart]) != 0)
                {
                    return false;
                }
            }

            return true;
        }
    }

    /// <summary>A call begins.</summary>
    /// <returns>What <see cref="Exit"/> must be given.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int Enter()
    {
        int at = ((Thread.GetCurrentProcessorId() & (Parts - 1)) + 1) * Apart;
        _ = Interlocked.Increment(ref _counts[at]);
        return at;
    }

    /// <summary>A call ends.</summary>
    /// <param name="entered">What <see cref="Enter"/> returned.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Exit(int entered) => Interlocked.Decrement(ref _counts[entered]);
}
