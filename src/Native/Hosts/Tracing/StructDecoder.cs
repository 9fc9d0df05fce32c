using System.Collections.Concurrent;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text.Json;
using IommuFd.Native.Uapi;

namespace IommuFd.Native;

/// <summary>Turns a command's bytes into named fields, by the struct that the command catalogue names.</summary>
internal static class StructDecoder
{
    private static readonly ConcurrentDictionary<Type, Field[]> s_fields = new();

    // The struct fields that carry flags or a choice, where uapi names the values.
    private static readonly Dictionary<(string Command, string Field), Func<ulong, string>> s_names = new()
    {
        [("IOMMU_IOAS_MAP", "flags")] = Names<iommufd_ioas_map_flags>,
        [("IOMMU_IOAS_MAP_FILE", "flags")] = Names<iommufd_ioas_map_flags>,
        [("IOMMU_IOAS_COPY", "flags")] = Names<iommufd_ioas_map_flags>,
        [("IOMMU_HWPT_ALLOC", "flags")] = Names<iommufd_hwpt_alloc_flags>,
        [("IOMMU_HWPT_ALLOC", "data_type")] = Names<iommu_hwpt_data_type>,
        [("IOMMU_OPTION", "option_id")] = Names<iommufd_option>,
        [("IOMMU_OPTION", "op")] = Names<iommufd_option_ops>,
        [("IOMMU_GET_HW_INFO", "out_data_type")] = Names<iommu_hw_info_type>,
        [("IOMMU_GET_HW_INFO", "out_capabilities")] = Names<iommufd_hw_capabilities>,
        [("IOMMU_VFIO_IOAS", "op")] = Names<iommufd_vfio_ioas_op>,
        [("IOMMU_VIOMMU_ALLOC", "type")] = Names<iommu_viommu_type>,
        [("IOMMU_VEVENTQ_ALLOC", "type")] = Names<iommu_veventq_type>,
        [("IOMMU_HW_QUEUE_ALLOC", "type")] = Names<iommu_hw_queue_type>,
        [("IOMMU_HWPT_INVALIDATE", "data_type")] = Names<iommu_hwpt_invalidate_data_type>,
        [("VFIO_DEVICE_SET_IRQS", "flags")] = static value => TraceValue.Flags(
            value, (1, "VFIO_IRQ_SET_DATA_NONE"), (2, "VFIO_IRQ_SET_DATA_BOOL"), (4, "VFIO_IRQ_SET_DATA_EVENTFD"), (8, "VFIO_IRQ_SET_ACTION_MASK"),
            (16, "VFIO_IRQ_SET_ACTION_UNMASK"), (32, "VFIO_IRQ_SET_ACTION_TRIGGER")).Text,
        [("VFIO_DEVICE_GET_REGION_INFO", "flags")] = static value => TraceValue.Flags(
            value, (1, "VFIO_REGION_INFO_FLAG_READ"), (2, "VFIO_REGION_INFO_FLAG_WRITE"), (4, "VFIO_REGION_INFO_FLAG_MMAP"),
            (8, "VFIO_REGION_INFO_FLAG_CAPS")).Text,
        [("VFIO_DEVICE_GET_IRQ_INFO", "flags")] = static value => TraceValue.Flags(
            value, (1, "VFIO_IRQ_INFO_EVENTFD"), (2, "VFIO_IRQ_INFO_MASKABLE"), (4, "VFIO_IRQ_INFO_AUTOMASKED"), (8, "VFIO_IRQ_INFO_NORESIZE")).Text,
    };

    /// <summary>The fields that lie inside <paramref name="bytes"/>, in the struct's order.</summary>
    internal static List<(string Key, TraceValue Value)> Decode(in IoctlCommand command, ReadOnlySpan<byte> bytes)
    {
        List<(string, TraceValue)> values = [];
        foreach (Field field in FieldsOf(command))
        {
            if (field.Offset + field.Size <= bytes.Length)
            {
                values.Add((field.Name, Value(command.Name, field, bytes.Slice(field.Offset, field.Size))));
            }
        }

        return values;
    }

    /// <summary>
    /// The other way: puts a recorded value into its field's bytes. False when there is no such field, or the value does not fit it.
    /// </summary>
    internal static bool Encode(in IoctlCommand command, string name, JsonElement value, Span<byte> bytes)
    {
        foreach (Field field in FieldsOf(command))
        {
            if (field.Name != name || field.Offset + field.Size > bytes.Length)
            {
                continue;
            }

            Span<byte> place = bytes.Slice(field.Offset, field.Size);
            Span<byte> number = stackalloc byte[8];
            if (value.ValueKind == JsonValueKind.String)
            {
                byte[] data = Convert.FromHexString(value.GetString()!);
                data.AsSpan(0, Math.Min(data.Length, field.Size)).CopyTo(place);
                return true;
            }

            if (field.Size > 8 || !(value.TryGetUInt64(out ulong unsigned)
                || (value.TryGetInt64(out long signed) && (unsigned = unchecked((ulong)signed)) == unsigned)))
            {
                return false;
            }

            MemoryMarshal.Write(number, unsigned);
            number[..field.Size].CopyTo(place);
            return true;
        }

        return false;
    }

    private static TraceValue Value(string command, Field field, ReadOnlySpan<byte> bytes)
    {
        if (field.Size is not (1 or 2 or 4 or 8) || !field.IsInteger)
        {
            return TraceValue.Data(bytes.ToArray());
        }

        ulong value = field.Size switch
        {
            1 => bytes[0],
            2 => MemoryMarshal.Read<ushort>(bytes),
            4 => MemoryMarshal.Read<uint>(bytes),
            _ => MemoryMarshal.Read<ulong>(bytes),
        };
        if (s_names.TryGetValue((command, field.Name), out Func<ulong, string>? names))
        {
            return new TraceValue(names(value), value);
        }

        bool plain = value < 10 || (field.Size <= 4 && !field.Name.Contains("flags", StringComparison.Ordinal));
        return field.IsSigned
            ? TraceValue.Of(field.Size == 4 ? (int)value : (long)value)
            : plain ? TraceValue.Of((long)value)
            : TraceValue.Hex(value);
    }

    private static Field[] FieldsOf(in IoctlCommand command)
    {
        if (command.Argument is not { } type)
        {
            return [];
        }

        if (s_fields.TryGetValue(type, out Field[]? known))
        {
            return known;
        }

        List<Field> fields = [];
        if (type.IsPrimitive)
        {
            fields.Add(new Field("value", 0, (int)command.FullSize, true, type == typeof(int)));
        }
        else
        {
            int end = 0;
            foreach (FieldInfo info in type.GetFields(BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance))
            {
                Type field = info.FieldType;
                int size = RuntimeHelpers.SizeOf(field.TypeHandle), alignment = Alignment(field, size);
                int offset = info.GetCustomAttribute<FieldOffsetAttribute>()?.Value ?? (end + alignment - 1) / alignment * alignment;
                end = offset + size;
                if (!info.Name.StartsWith("__", StringComparison.Ordinal) && info.Name != "pad")
                {
                    fields.Add(new Field(info.Name, offset, size, field.IsPrimitive || field.IsEnum, field == typeof(int) || field == typeof(long)));
                }
            }
        }

        return s_fields.GetOrAdd(type, [.. fields]);
    }

    // The kernel's structs are laid out in C's way; the ABI proof of the tests shows that ours are too.
    private static int Alignment(Type field, int size) => field.IsPrimitive || field.IsEnum ? size
        : field.IsGenericType ? RuntimeHelpers.SizeOf(field.GenericTypeArguments[0].TypeHandle)
        : size % 8 == 0 ? 8 : 4;

    private static string Names<T>(ulong value)
        where T : struct, Enum => Enum.ToObject(typeof(T), (uint)value).ToString()!.Replace(", ", "|", StringComparison.Ordinal);

    private sealed record Field(string Name, int Offset, int Size, bool IsInteger, bool IsSigned);
}
