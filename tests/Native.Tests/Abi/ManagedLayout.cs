using System.Reflection;
using System.Runtime.CompilerServices;

namespace Native.Tests.Abi;

/// <summary>The layout the runtime really gives a struct: a field is filled with ones and found again in the bytes.</summary>
internal static class ManagedLayout
{
    internal static int SizeOf(Type type)
        => (int)typeof(Unsafe).GetMethod(nameof(Unsafe.SizeOf))!.MakeGenericMethod(type).Invoke(null, null)!;

    /// <summary>Offset and size in bytes of a field.</summary>
    internal static (int Offset, int Size) Of(FieldInfo field)
    {
        object value = RuntimeHelpers.GetUninitializedObject(field.FieldType);
        Bytes(value).Fill(0xff);
        object owner = RuntimeHelpers.GetUninitializedObject(field.DeclaringType!);
        field.SetValue(owner, value);
        Span<byte> bytes = Bytes(owner);
        int first = bytes.IndexOf((byte)0xff);
        return (first, bytes.LastIndexOf((byte)0xff) - first + 1);
    }

    // SAFETY: the object is a boxed struct without references, so its data is SizeOf bytes at the start of the object.
    private static Span<byte> Bytes(object boxed)
        => System.Runtime.InteropServices.MemoryMarshal.CreateSpan(ref Unsafe.As<Box>(boxed).First, SizeOf(boxed.GetType()));

    private sealed class Box
    {
        internal byte First;
    }
}
