using System.Globalization;

namespace IommuFd.HwSim.Kernel;

/// <summary>What an iommufd holds, in words: for reports of what was left behind.</summary>
public sealed partial class IommufdContext
{
    /// <summary>
    /// One sentence fragment: address spaces with their mappings, pinned memory, bound devices, other objects. Empty when it holds nothing.
    /// </summary>
    public string Describe()
    {
        int spaces = 0, mappings = 0, devices = 0, others = 0;
        ulong pinned = 0;
        lock (_objectsLock)
        {
            for (uint id = 0; id < _objects.End; id++)
            {
                switch (_objects[id])
                {
                    case null:
                        break;
                    case IommufdIoas ioas:
                        spaces++;
                        mappings += ioas.Pagetable.AreaCount;
                        pinned += ioas.Pagetable.PinnedPages() * IoptPages.PageSize;
                        break;
                    case IommufdDevice.DeviceObject:
                        devices++;
                        break;
                    default:
                        others++;
                        break;
                }
            }
        }

        List<string> parts = [];
        Add(devices, "bound device");
        Add(spaces, "address space");
        Add(mappings, "mapping");
        if (pinned != 0)
        {
            parts.Add(string.Create(CultureInfo.InvariantCulture, $"{pinned / 1024} KiB of pinned memory"));
        }

        Add(others, "other object");
        return string.Join(", ", parts);

        void Add(int count, string what)
        {
            if (count != 0)
            {
                parts.Add(string.Create(CultureInfo.InvariantCulture, $"{count} {what}{(count == 1 ? "" : "s")}"));
            }
        }
    }
}
