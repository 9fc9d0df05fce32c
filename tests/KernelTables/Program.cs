// Runs in the test machine, on its real /dev/iommu: random maps and unmaps, and after each sequence the table that the kernel made, as its debugfs
// prints it. KernelTables DEVICE-FILE DEBUGFS-FILE SEQUENCES SEED, output on stdout; tests/HwSim.Tests/Judges/KernelTables reads it.
//   S n                          a sequence begins, with an empty address space
//   M iova length flags va       a map that succeeded (hexadecimal), followed by
//   P pfn count                  its physically contiguous runs
//   U iova length                an unmap that succeeded
//   D line                       a line of the kernel's dump
using System.Globalization;
using IommuFd.Native;
using KernelTables;

if (args is not [var device, var dump, var count, var seedText])
{
    Console.Error.WriteLine("usage: KernelTables DEVICE-FILE DEBUGFS-FILE SEQUENCES SEED");
    return 2;
}

var sequences = int.Parse(count, CultureInfo.InvariantCulture);
var seed = int.Parse(seedText, CultureInfo.InvariantCulture);
using var output = new StreamWriter(Console.OpenStandardOutput(), bufferSize: 1 << 16);
var kernel = new LinuxKernel();
using var space = new AddressSpace(kernel, device);
using var buffer = new UserBuffer(kernel, 32 << 20);
var random = new Random(seed);
for (var n = 0; n < sequences; n++)
{
    output.WriteLine($"S {n}");
    space.Begin();
    List<(ulong Iova, ulong Length)> areas = [];
    for (var steps = random.Next(2, 12); steps > 0; steps--)
    {
        if (areas.Count > 0 && random.Next(4) == 0)
        {
            var (at, size) = areas[random.Next(areas.Count)];
            if (space.Unmap(at, size) == 0)
            {
                areas.Remove((at, size));
                output.WriteLine($"U {at:x} {size:x}");
            }

            continue;
        }

        var huge = random.Next(2) == 0;
        var length = huge ? (ulong)random.Next(1, 4) << 21 : (ulong)random.Next(1, 40) << 12;
        if (random.Next(3) == 0)
            length += (ulong)random.Next(1, 8) << 12;
        var unit = huge && random.Next(3) != 0 ? 2UL << 20 : 4096;
        var from = (ulong)random.NextInt64((long)(buffer.Length - length)) & ~(unit - 1);
        var iova = areas.Count > 0 && random.Next(2) == 0
            ? areas[^1].Iova + (unit * (ulong)random.Next(1, 600))
            : ((ulong)random.NextInt64() & 0xFFFF_FFFF_F000) >> random.Next(0, 16);
        iova &= ~(unit - 1);
        var flags = (uint)random.Next(1, 4) << 1;
        if (space.Map(buffer.Address + from, length, iova, flags) != 0)
            continue;
        areas.Add((iova, length));
        output.WriteLine($"M {iova:x} {length:x} {flags:x} {buffer.Address + from:x}");
        foreach (var (pfn, pages) in buffer.Runs(from, length))
            output.WriteLine($"P {pfn:x} {pages:x}");
    }

    foreach (var line in File.ReadLines(dump))
        output.WriteLine($"D {line}");
}

return 0;
