"""What a shell needs to complete words: a function for bash, zsh or fish that asks the command.

The command prints a word for the kind of answer (``words``, ``files``, ``folders``), then a line for each word. No shell
evaluates what it is told: the lines are read into an array. A word that a shell would have to be told in quotes comes
quoted (bash), or is quoted by the shell itself (zsh, fish).
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator

_BASH = r"""
_hierstore() {
    local kind line
    COMPREPLY=()
    {
        IFS= read -r kind || return 0
        while IFS= read -r line; do
            COMPREPLY+=("$line")
        done
    } < <(_HIERSTORE_COMPLETE=bash _HIERSTORE_LINE="${COMP_LINE:0:COMP_POINT}" \
        _HIERSTORE_BREAKS="$COMP_WORDBREAKS" "$1" 2> /dev/null)
    if [[ $kind != words ]]; then
        compopt -o default 2> /dev/null
    fi
}

complete -F _hierstore hierstore
"""

_ZSH = r"""
#compdef hierstore

_hierstore() {
    local -a answer values shown
    local line
    answer=("${(@f)$(_HIERSTORE_COMPLETE=zsh command "${words[1]}" "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2> /dev/null)}")
    case ${answer[1]} in
        files) _files; return ;;
        folders) _files -/; return ;;
    esac
    for line in "${(@)answer[2,-1]}"; do
        values+=("${line%%$'\t'*}")
        shown+=("${line/$'\t'/  -- }")
    done
    (( $#values )) && compadd -l -d shown -a -- values
}

(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _hierstore hierstore
"""

_FISH = r"""
function __hierstore_answer
    set -l before (commandline -opc)
    set -l current (commandline -ct | string unescape 2> /dev/null)
    or set current (commandline -ct)
    test (count $current) -eq 0
    and set current ''
    set -l answer (env _HIERSTORE_COMPLETE=fish $before $current 2> /dev/null)
    switch "$answer[1]"
        case files
            __fish_complete_path $current
        case folders
            __fish_complete_directories $current
        case words
            set -e answer[1]
            test (count $answer) -gt 0
            and printf '%s\n' $answer
    end
end

complete --command hierstore --no-files --arguments '(__hierstore_answer)'
"""

_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def script(shell: str) -> str:
    """What lets a shell complete.

    Raises:
        KeyError: it is none that is known.
    """
    return _SCRIPTS[shell].strip()


def install(shell: str) -> list[str]:
    """Write that to a file, and let the shell load it when it starts.

    Returns:
        Sentences that say what was written.

    Raises:
        KeyError: the shell is none that is known.
        OSError: something could not be written.
    """
    text = script(shell)
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    if shell == "fish":
        path = os.path.join(config, "fish", "completions", "hierstore.fish")
        told = []
    else:
        path = os.path.join(config, "hierstore", f"completion.{shell}")
        told = list(_load(shell, path))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    return [f"Written: {path}", *told, "It works in every shell that is started from now on."]


def _load(shell: str, path: str) -> Iterator[str]:
    """Have the shell's start file load a script, once."""
    home = os.environ.get("ZDOTDIR") if shell == "zsh" else None
    start = os.path.join(home or os.path.expanduser("~"), f".{shell}rc")
    line = f"source {shlex.quote(path)}\n"
    with open(start, "a+", encoding="utf-8", errors="surrogateescape") as file:
        file.seek(0)
        there = file.read()
        if line not in there:
            file.write(line if not there or there.endswith("\n") else f"\n{line}")
            yield f"{start} loads it."
