namespace IommuFd.HwSim.Foreign;

/// <summary>A program could not be started on the simulated machine. The message is one sentence with cause and remedy.</summary>
public sealed class ForeignException : Exception
{
    /// <summary>Without a message.</summary>
    public ForeignException()
    {
    }

    /// <summary>With a message.</summary>
    public ForeignException(string message)
        : base(message)
    {
    }

    /// <summary>With a message and its cause.</summary>
    public ForeignException(string message, Exception inner)
        : base(message, inner)
    {
    }
}
