using System.Globalization;
using IommuFd.HwSim.Devices;
using IommuFd.HwSim.Devices.Igb;
using IommuFd.HwSim.Devices.Ioat;
using IommuFd.HwSim.Devices.Nvme;
using IommuFd.HwSim.Devices.Pasid;

namespace IommuFd.HwSim.Kernel;

/// <summary>The device models that a topology can name.</summary>
internal static class DeviceModels
{
    /// <summary>Makes the silicon of a function.</summary>
    /// <param name="function">The function.</param>
    /// <param name="physical">The physical function of a virtual one.</param>
    /// <exception cref="TopologyException">There is no such model, or a property of it means nothing.</exception>
    public static PciDevice Create(FunctionTopology function, PciDevice? physical)
    {
        PciDevice device = Model(function, physical);
        foreach (BarTopology bar in function.Bars)
        {
            if (bar.IsPolled && !device.AllowMapping(bar.Index))
            {
                throw new TopologyException($"function {function.Address}: the registers of BAR {bar.Index} cannot be polled; only those of BAR 0"
                    + " of 'igb' can");
            }
        }

        return device;
    }

    private static PciDevice Model(FunctionTopology function, PciDevice? physical) => function.Model switch
    {
        null => new PlainFunction(function),
        "edu" => new EduDevice(Number(function, "dma_mask", (1UL << 28) - 1)),
        "nvme" => new NvmeController(function.Properties.GetValueOrDefault("file")),
        "igb" => Igb(function),
        "igbvf" when physical is IgbController controller => controller.AddVirtual(),
        "ioat" => new IoatController(),
        "pasid" => new PasidDevice((int)Number(function, "pasid_bits", 20), Number(function, "ats", 1) != 0, Number(function, "pri", 1) != 0),
        _ => throw new TopologyException($"function {function.Address} has a model '{function.Model}'; known are: edu, igb, ioat, nvme, pasid"),
    };

    private static IgbController Igb(FunctionTopology function)
    {
        IgbController controller = new(Mac(function));
        switch (function.Properties.GetValueOrDefault("cable"))
        {
            case null:
                break;
            case "loopback":
                controller.PlugLoopback();
                break;
            case "none":
                controller.HasCable = false;
                break;
            case string other:
                throw new TopologyException($"function {function.Address}: property 'cable' is '{other}'; it is loopback or none");
        }

        return controller;
    }

    private static byte[]? Mac(FunctionTopology function)
    {
        if (!function.Properties.TryGetValue("mac", out string? text))
        {
            return null;
        }

        byte[] mac = new byte[6];
        string[] parts = text.Split(':');
        bool good = parts.Length == 6;
        for (int i = 0; i < 6 && good; i++)
        {
            good = parts[i].Length == 2 && byte.TryParse(parts[i], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out mac[i]);
        }

        return good && (mac[0] & 1) == 0
            ? mac
            : throw new TopologyException($"function {function.Address}: property 'mac' is '{text}', not a station's address such as"
                + " 52:54:00:12:34:56");
    }

    private static ulong Number(FunctionTopology function, string property, ulong missing)
    {
        if (!function.Properties.TryGetValue(property, out string? text))
        {
            return missing;
        }

        bool good = text.StartsWith("0x", StringComparison.OrdinalIgnoreCase)
            ? ulong.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong value)
            : ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value);
        return good ? value : throw new TopologyException($"function {function.Address}: property '{property}' is '{text}', not a number");
    }
}
