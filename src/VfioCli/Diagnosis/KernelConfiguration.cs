using System.IO.Compression;
using IommuFd.Native;
using IommuFd.Sysfs;

namespace VfioCli.Diagnosis;

/// <summary>The options that the kernel was built with: /proc/config.gz, else /boot/config-RELEASE.</summary>
internal sealed class KernelConfiguration
{
    private readonly Dictionary<string, string> _options = new(StringComparer.Ordinal);

    private KernelConfiguration(string source) => Source = source;

    /// <summary>Where it was read.</summary>
    public string Source { get; }

    /// <summary><c>y</c>, <c>m</c>, another value, or <c>n</c> for what is not set.</summary>
    public string this[string option] => _options.GetValueOrDefault(option, "n");

    /// <summary>Reads it; null when the kernel does not show it.</summary>
    public static KernelConfiguration? Read(ISysfs sysfs)
    {
        string release = sysfs.Attribute("/proc/sys/kernel/osrelease") ?? "";
        if (sysfs.ReadBytes("/proc/config.gz", out byte[] zipped) > 0)
        {
            try
            {
                using GZipStream stream = new(new MemoryStream(zipped), CompressionMode.Decompress);
                using StreamReader reader = new(stream);
                return Parse("/proc/config.gz", reader.ReadToEnd());
            }
            catch (InvalidDataException)
            {
                // Not what it says: as good as absent.
            }
        }

        string file = "/boot/config-" + release;
        return sysfs.ReadText(file, out string text) > 0 ? Parse(file, text) : null;
    }

    private static KernelConfiguration Parse(string source, string text)
    {
        KernelConfiguration configuration = new(source);
        foreach (string line in text.Split('\n'))
        {
            int equals = line.IndexOf('=', StringComparison.Ordinal);
            if (equals > 0 && line.StartsWith("CONFIG_", StringComparison.Ordinal))
            {
                configuration._options[line[7..equals]] = line[(equals + 1)..];
            }
        }

        return configuration;
    }
}
