namespace IommuFd;

/// <summary>One observation behind a diagnosis: a file and what it holds, or an argument and its value.</summary>
/// <param name="Name">A path such as <c>/sys/bus/pci/devices/0000:00:04.0/driver</c>, or an argument's name.</param>
/// <param name="Value">What was found there.</param>
public readonly record struct Evidence(string Name, string Value)
{
    /// <summary>An argument that is an address or a size.</summary>
    public static Evidence Hex(string name, ulong value) => new(name, $"0x{value:x}");

    /// <summary>name=value.</summary>
    public override string ToString() => $"{Name}={Value}";
}
