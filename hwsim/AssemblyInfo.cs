using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Versioning;

// Every argument is blittable: what the compiler lays out is what the kernel reads.
[assembly: DisableRuntimeMarshalling]

// "libc" is looked up in the system directories only: a library planted beside a program that runs as root must not be loaded.
[assembly: DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]

[assembly: SupportedOSPlatform("linux")]
