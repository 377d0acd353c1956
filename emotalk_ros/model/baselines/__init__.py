"""The networks EmoTalk is compared with, on EmoTalk's interface: VOCA, MeshTalk, FaceFormer for 52 coefficients."""
