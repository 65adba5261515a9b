"""The layouts that weights_names.py is about, and diffusers' configurations of their U-Nets."""


def level_types(depths, plain, text):
    return [text if any(d) else plain for d in depths]


def unet_config(channels, down, up, mid, context, linear, heads, cin=4, adm=0, cond=0):
    config = dict(block_out_channels=channels, layers_per_block=len(down[0]), cross_attention_dim=context, in_channels=cin,
                  use_linear_projection=linear, attention_head_dim=heads, transformer_layers_per_block=[
                      d if any(d) else max(mid or 1, 1) for d in down],
                  reverse_transformer_layers_per_block=[d if any(d) else 1 for d in up],
                  down_block_types=level_types(down, "DownBlock2D", "CrossAttnDownBlock2D"),
                  up_block_types=level_types(up, "UpBlock2D", "CrossAttnUpBlock2D"),
                  mid_block_type=None if mid is None else "UNetMidBlock2DCrossAttn" if mid else "UNetMidBlock2D")
    if mid:
        config["transformer_layers_per_block"][-1] = down[-1] if any(down[-1]) else mid
        if any(down[-1]):
            assert set(down[-1]) == {mid}
            config["transformer_layers_per_block"][-1] = mid
    if adm:
        config.update(addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=adm)
    if cond:
        config["time_cond_proj_dim"] = cond
    return config


SD = dict(channels=(320, 640, 1280, 1280), down=[[1, 1]] * 3 + [[0, 0]], up=[[0, 0, 0]] + [[1, 1, 1]] * 3, mid=1)
SD1 = dict(SD, context=768, linear=False, heads=8)
SD2 = dict(SD, context=1024, linear=True, heads=[5, 10, 20, 20])
XL = dict(channels=(320, 640, 1280), context=2048, linear=True, heads=[5, 10, 20], adm=2816)
LAYOUTS = {
    "sd1": (SD1, "clip", "sd1"), "sd1-old": (SD1, "clip-old", "sd1"), "sd1-inpaint": (dict(SD1, cin=9), "clip", "sd1"),
    "sd1-instruct": (dict(SD1, cin=8), "clip", "sd1"), "sd1-lcm": (dict(SD1, cond=256), "clip", "sd1"),
    "sd2": (SD2, "openclip", "sd2"),
    "sdxl": (dict(XL, down=[[0, 0], [2, 2], [10, 10]], up=[[10] * 3, [2] * 3, [0] * 3], mid=10), "both", "sdxl"),
    "refiner": (dict(channels=(384, 768, 1536, 1536), down=[[0, 0], [4, 4], [4, 4], [0, 0]],
                     up=[[0] * 3, [4] * 3, [4] * 3, [0] * 3], mid=4, context=1280, linear=True, heads=[6, 12, 24, 24],
                     adm=2560), "second", "refiner"),
    "ssd-1b": (dict(XL, down=[[0, 0], [2, 2], [4, 4]], up=[[4, 4, 10], [2, 1, 1], [0] * 3], mid=0), "both", "sdxl"),
    "vega": (dict(XL, down=[[0, 0], [1, 1], [2, 2]], up=[[2, 2, 2], [1, 1, 1], [0] * 3], mid=0), "both", "sdxl"),
    "koala-700m": (dict(XL, down=[[0], [2], [5]], up=[[5, 5], [2, 2], [0, 0]], mid=None), "both", "sdxl"),
    "koala-1b": (dict(XL, down=[[0], [2], [6]], up=[[6, 6], [2, 2], [0, 0]], mid=6), "both", "sdxl"),
}


def config(name):
    layout = dict(LAYOUTS[name][0])
    return unet_config(heads=layout.pop("heads"), **layout)
