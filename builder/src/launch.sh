# Runs in the app folder as: SHELL -c THIS slipway-launch SHELL COMMAND
slipway_shell=$1
slipway_command=$2
shift 2
for slipway_script in ../profile.d/* .profile.d/* .profile; do
    if [ -f "$slipway_script" ] && [ -r "$slipway_script" ]; then
        case "$slipway_script" in
            */*) . "$slipway_script" ;;
            *) . "./$slipway_script" ;;
        esac
    fi
done
exec "$slipway_shell" -c "$slipway_command"
