using IommuFd.Native;
using IommuFd.Sysfs;

namespace VfioCli.CommandLine;

/// <summary>
/// Completion: the scripts ask <c>vfio __complete WORDS</c> and offer its lines, so that they know every verb, option and function.
/// </summary>
internal static class Completion
{
    /// <summary>The hidden verb of the scripts.</summary>
    public const string Verb = "__complete";

    /// <summary>The script for a shell.</summary>
    /// <exception cref="CommandFailure">The shell is not known.</exception>
    public static string Script(string shell) => shell switch
    {
        "bash" => """
            _vfio() {
                local IFS=$'\n' line=${COMP_LINE:0:COMP_POINT} words word=""
                IFS=$' \t' read -ra words <<< "$line"
                [[ $line == *[[:space:]] ]] || { word=${words[-1]}; unset 'words[-1]'; }
                COMPREPLY=($(compgen -W "$(vfio __complete "${words[@]:1}" 2>/dev/null)" -- "$word"))
                # Readline takes the colons of an address for word breaks.
                if [[ $word == *:* && $COMP_WORDBREAKS == *:* ]]; then
                    local i=${#COMPREPLY[@]}
                    while (( i-- )); do COMPREPLY[i]=${COMPREPLY[i]#"${word%:*}:"}; done
                fi
            }
            complete -o default -F _vfio vfio

            """,
        "zsh" => """
            #compdef vfio
            _vfio() {
                local -a candidates
                candidates=("${(@f)$(vfio __complete "${(@)words[2,CURRENT-1]}" 2>/dev/null)}")
                compadd -a candidates
            }
            compdef _vfio vfio

            """,
        "fish" => """
            complete -c vfio -f -a '(vfio __complete (commandline -opc)[2..-1] 2>/dev/null)'

            """,
        _ => throw new CommandFailure(ExitCode.Usage, $"there is no completion for '{shell}'.", "There is one for bash, zsh and fish."),
    };

    /// <summary>What can follow <paramref name="words"/>, one candidate a line.</summary>
    public static IEnumerable<string> Candidates(string[] words, ISysfs sysfs)
    {
        // The options of every verb may stand before it.
        int at = 0;
        while (at < words.Length && words[at].StartsWith('-'))
        {
            at += words[at] == "--json" ? 1 : 2;
        }

        VerbDescription? verb = at < words.Length ? VerbDescription.All.FirstOrDefault(each => each.Name == words[at]) : null;
        string last = words.Length > 0 ? words[^1] : "";
        OptionDescription? open = (verb ?? VerbDescription.All[0]).Options.FirstOrDefault(option => option.Value is not null
            && last == "--" + option.Name);
        if (open is not null)
        {
            return open.Name switch
            {
                "host" => ["auto", "kernel", "sim"],
                "topology" => IommuFd.HwSim.Topology.Names,
                "driver" => sysfs.Entries(PciBus.Drivers),
                "group" => sysfs.Entries(PciBus.Groups),
                _ => [],
            };
        }

        if (verb is null)
        {
            return [.. VerbDescription.All.Select(static each => each.Name), "help", "--host", "--json", "--version"];
        }

        IEnumerable<string> options = verb.Options.Select(static option => "--" + option.Name).Append("--help")
            .Where(option => !words.Contains(option));
        IEnumerable<string> values = verb.Name switch
        {
            "completion" => ["bash", "zsh", "fish"],
            "vf" when words.Length == at + 1 => ["create", "delete", "show", "token"],
            "mdev" when words.Length == at + 1 => ["list", "types", "define", "start", "stop", "forget"],
            "sim" when words.Length == at + 1 => ["run", "shell", "topologies", "check"],
            "groups" => sysfs.Entries(PciBus.Groups),
            _ when verb.TakesFunctions => sysfs.Entries(PciBus.Devices).Where(address => !words.Contains(address)),
            _ => [],
        };
        return values.Concat(options);
    }
}
