"""What a body is: layouts, graphs, rotations, kinematics."""

from symgnn.skeleton.graphs import Graph as Graph
from symgnn.skeleton.graphs import adjacency as adjacency
from symgnn.skeleton.graphs import bone_adjacency as bone_adjacency
from symgnn.skeleton.graphs import bone_graph as bone_graph
from symgnn.skeleton.graphs import bone_parts as bone_parts
from symgnn.skeleton.graphs import bones as bones
from symgnn.skeleton.graphs import joint_graph as joint_graph
from symgnn.skeleton.graphs import normalise as normalise
from symgnn.skeleton.graphs import part_adjacency as part_adjacency
from symgnn.skeleton.graphs import part_membership as part_membership
from symgnn.skeleton.graphs import powers as powers
from symgnn.skeleton.kinematics import forward_kinematics as forward_kinematics
from symgnn.skeleton.layout import Layout as Layout
from symgnn.skeleton.layout import LayoutFile as LayoutFile
from symgnn.skeleton.layout import Space as Space
from symgnn.skeleton.layout import layout_from_dict as layout_from_dict
from symgnn.skeleton.layout import layout_names as layout_names
from symgnn.skeleton.layout import layout_to_dict as layout_to_dict
from symgnn.skeleton.layout import load_layout as load_layout
from symgnn.skeleton.rotations import expmap_to_euler as expmap_to_euler
from symgnn.skeleton.rotations import expmap_to_matrix as expmap_to_matrix
from symgnn.skeleton.rotations import matrix_to_euler as matrix_to_euler
