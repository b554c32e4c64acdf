"""Turn a .glb of cliffvid into FBX or a .blend file, in Blender 4.2 or later.

blender --background --python THIS_SCRIPT -- in.glb out.fbx
"""

import sys
from pathlib import Path

import bpy

RATE = 25.0  # frames a second of the video
HIDDEN = 0.001  # scale of a person who is not there: at 0, bones have no direction in FBX


def main(arguments: list[str]) -> None:
    """Read a .glb and write what the ending of the second file says, unless that file exists."""
    if len(arguments) != 2:
        sys.exit("give two files after --, such as: -- in.glb out.fbx")
    source, out = (Path(argument).absolute() for argument in arguments)
    if not source.is_file():
        sys.exit(f"{source}: no such file")
    if out.suffix.lower() not in (".fbx", ".blend"):
        sys.exit(f"{out}: choose a name that ends with .fbx or .blend")
    if out.exists():
        sys.exit(f"{out}: exists already; remove it, or choose another name")
    load(source)
    if out.suffix.lower() == ".blend":
        bpy.ops.wm.save_as_mainfile(filepath=str(out))
        return
    bpy.ops.export_scene.fbx(
        filepath=str(out),
        object_types={"ARMATURE", "MESH", "CAMERA"},
        add_leaf_bones=False,
        bake_anim_use_nla_strips=False,
        bake_anim_use_all_actions=False,
        bake_anim_simplify_factor=0,
    )


def load(source: Path) -> None:
    """Replace the scene by that of a .glb, at the video's frame rate, from frame 0."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.fps = whole = max(1, round(RATE))  # the importer heeds this alone, not fps_base
    bpy.ops.import_scene.gltf(filepath=str(source), disable_bone_shape=True)
    scene.render.fps_base = whole / RATE
    for action in bpy.data.actions:
        for curve in curves(action):
            keys = [0.0] * (2 * len(curve.keyframe_points))  # frame, value, frame, value, ...
            curve.keyframe_points.foreach_get("co", keys)
            keys[::2] = [round(frame * RATE / whole, 3) for frame in keys[::2]]
            if curve.data_path == "scale":
                keys[1::2] = [max(scale, HIDDEN) for scale in keys[1::2]]
            curve.keyframe_points.foreach_set("co", keys)
            curve.update()
    scene.frame_start = 0
    scene.frame_end = max(1, round(max(action.frame_range[1] for action in bpy.data.actions)))


def curves(action: bpy.types.Action) -> list[bpy.types.FCurve]:
    """Return the curves of an action; before Blender 4.4 it had them itself."""
    if not getattr(action, "layers", None):
        return list(action.fcurves)
    strips = [strip for layer in action.layers for strip in layer.strips]
    return [curve for strip in strips for bag in strip.channelbags for curve in bag.fcurves]


if __name__ == "__main__":
    main(sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else [])
